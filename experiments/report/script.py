"""The script of report.html: tables that sort, search and filter, and a network that follows the list of edges and
tells of the gene that is pointed at. Without it every table and picture is there as it was written.

It fetches nothing, writes no HTML (texts go in as text), and is the only one that the page lets run: the policy names
its hash.
"""

import base64
import hashlib

FEWEST = 8  # rows of a table that is worth searching

SCRIPT = """
"use strict";
(function () {
  function number(text) {
    var plain = text.replace(/[,\\u00d7%<>+\\u202f\\s]/g, "").replace("\\u2212", "-");
    var value = parseFloat(plain);
    return isNaN(value) ? null : value;
  }
  function compare(a, b) {
    var x = number(a), y = number(b);
    if (x !== null && y !== null) return x - y;
    if (x !== null) return -1;
    if (y !== null) return 1;
    return a.localeCompare(b);
  }
  function element(tag, text, kind) {
    var made = document.createElement(tag);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }
  function each(list, act) { Array.prototype.forEach.call(list, act); }
  var net = document.querySelector("svg.network");
  var edges = net ? Array.prototype.slice.call(net.querySelectorAll(".edge")) : [];
  var genes = net ? Array.prototype.slice.call(net.querySelectorAll(".gene")) : [];
  function key(source, target) { return source + "\\u001f" + target; }
  function told(seen, all, what, least, wrong) {
    var line = seen + " of " + all + " " + what + " with at least " + least.toFixed(2);
    if (wrong === null) return line;
    line += ": " + wrong.toFixed(1) + " expected to be wrong";
    return seen ? line + " (" + (100 * wrong / seen).toFixed(0) + "%)" : line;
  }
  function follow(listed, least, ranks) {
    var kept = {}, number = 0, wrong = 0;
    edges.forEach(function (edge) {
      var seen = listed[key(edge.dataset.source, edge.dataset.target)] === true;
      edge.classList.toggle("off", !seen);
      if (seen) { number += 1; wrong += 1 - parseFloat(edge.dataset.sure); }
      if (seen) { kept[edge.dataset.source + "\\u001f"] = true; kept[edge.dataset.target + "\\u001f"] = true; }
    });
    genes.forEach(function (gene) { gene.classList.toggle("off", !kept[gene.dataset.gene + "\\u001f"]); });
    return told(number, edges.length, "edges drawn", least, ranks ? null : wrong);
  }
  if (net) {
    var says = net.parentNode.querySelector(".told");
    says.textContent = "Point at a gene or an edge, or tap it.";
    var leave = function () {
      net.classList.remove("near");
      each(net.querySelectorAll(".on"), function (part) { part.classList.remove("on"); });
    };
    var enter = function (part) {
      leave();
      var near = {};
      var name = part.dataset.gene;
      edges.forEach(function (edge) {
        if (edge === part || edge.dataset.source === name || edge.dataset.target === name) {
          edge.classList.add("on");
          near[edge.dataset.source + "\\u001f"] = true; near[edge.dataset.target + "\\u001f"] = true;
        }
      });
      genes.forEach(function (gene) { if (near[gene.dataset.gene + "\\u001f"]) gene.classList.add("on"); });
      net.classList.add("near");
      says.textContent = part.querySelector("title").textContent;
    };
    edges.concat(genes).forEach(function (part) {
      part.addEventListener("pointerenter", function () { enter(part); });
      part.addEventListener("pointerleave", leave);
      part.addEventListener("click", function () { enter(part); });
    });
  }
  function sliding(least, label) {
    var slider = element("input");
    slider.type = "range";
    slider.min = 0; slider.max = 1; slider.step = 0.01; slider.value = least;
    slider.setAttribute("aria-label", label);
    return slider;
  }
  function prepare(table) {
    var body = table.tBodies[0], rows = Array.prototype.slice.call(body.rows);
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    var original = rows.slice();
    var text = function (row, i) { return row.cells[i] ? row.cells[i].textContent.trim() : ""; };
    heads.forEach(function (head, i) {
      if (!head.textContent) return;
      head.tabIndex = 0;
      head.setAttribute("role", "button");
      head.title = "sort";
      var sort = function () {
        var now = head.getAttribute("aria-sort");
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        var next = now === "descending" ? "ascending" : now === "ascending" ? null : "descending";
        var sorted = original.slice();
        if (next) {
          head.setAttribute("aria-sort", next);
          sorted.sort(function (a, b) {
            var x = text(a, i), y = text(b, i);
            var unknown = (x === "\\u2013" || !x) - (y === "\\u2013" || !y);
            return unknown || (next === "ascending" ? compare(x, y) : compare(y, x));
          });
        }
        sorted.forEach(function (row) { body.appendChild(row); });
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", function (event) {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
      });
    });
    var names = heads.map(function (head) { return head.textContent.trim(); });
    var ends = [names.indexOf("source"), names.indexOf("target")];
    var drawn = net && !net.dataset.of && ends[0] >= 0 && ends[1] >= 0;
    if (drawn) net.dataset.of = "table";
    if (rows.length < FEWEST) return;
    var bar = element("div", "", "tools");
    var search = element("input");
    search.type = "search";
    search.placeholder = "search " + rows.length + " rows";
    search.setAttribute("aria-label", "search this table");
    var line = element("span", "", "soft");
    line.setAttribute("aria-live", "polite");
    bar.appendChild(search);
    var column = names.indexOf("inclusion"), ranks = table.dataset.ranks === "yes";
    var sliders = [], below = null;
    if (column >= 0) {
      var label = element("label", "probability ");
      sliders.push(sliding(0, "least probability of an edge"));
      label.appendChild(sliders[0]);
      bar.appendChild(label);
      if (drawn) {
        var other = element("div", "", "tools"), second = element("label", "probability ");
        sliders.push(sliding(0, "least probability of an edge that is drawn"));
        below = element("span", "", "soft");
        second.appendChild(sliders[1]);
        other.appendChild(second);
        other.appendChild(below);
        net.parentNode.insertBefore(other, net);
      }
    }
    bar.appendChild(line);
    var show = function () {
      var words = search.value.trim().toLowerCase();
      var least = sliders.length ? parseFloat(sliders[0].value) : 0;
      var seen = 0, wrong = 0, listed = {};
      rows.forEach(function (row) {
        var sure = column >= 0 ? number(text(row, column)) : null;
        var fits = row.textContent.toLowerCase().indexOf(words) >= 0 && (!least || (sure !== null && sure >= least));
        row.hidden = !fits;
        if (fits) { seen += 1; if (sure !== null) wrong += 1 - sure; }
        if (fits && drawn) listed[key(text(row, ends[0]), text(row, ends[1]))] = true;
      });
      line.textContent = sliders.length
        ? told(seen, rows.length, "edges", least, ranks ? null : wrong)
        : seen + " of " + rows.length + " rows";
      var of_drawn = drawn ? follow(listed, least, ranks) : "";
      if (below) below.textContent = of_drawn;
    };
    search.addEventListener("input", show);
    sliders.forEach(function (slider) {
      slider.addEventListener("input", function () {
        sliders.forEach(function (other) { other.value = slider.value; });
        show();
      });
    });
    table.parentNode.parentNode.insertBefore(bar, table.parentNode);
    show();
  }
  each(document.querySelectorAll("div.scroll > table"), prepare);
})();
""".replace("FEWEST", str(FEWEST))
HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""Of the script, for the policy of the page."""
