"""The script of report.html: tables that sort, search and filter. Without it every table is there as it was written.

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
    if (rows.length < FEWEST) return;
    var bar = element("div", "", "tools");
    var search = element("input");
    search.type = "search";
    search.placeholder = "search " + rows.length + " rows";
    search.setAttribute("aria-label", "search this table");
    var told = element("span", "", "soft");
    told.setAttribute("aria-live", "polite");
    bar.appendChild(search);
    var column = heads.map(function (head) { return head.textContent.trim(); }).indexOf("inclusion");
    var slider = null;
    if (column >= 0) {
      slider = element("input");
      slider.type = "range";
      slider.min = 0; slider.max = 1; slider.step = 0.01; slider.value = 0;
      slider.setAttribute("aria-label", "least probability of an edge");
      var label = element("label", "at least ");
      label.appendChild(slider);
      bar.appendChild(label);
    }
    bar.appendChild(told);
    var show = function () {
      var words = search.value.trim().toLowerCase();
      var least = slider ? parseFloat(slider.value) : 0;
      var seen = 0, wrong = 0;
      rows.forEach(function (row) {
        var sure = column >= 0 ? number(text(row, column)) : null;
        var fits = row.textContent.toLowerCase().indexOf(words) >= 0 && (!least || (sure !== null && sure >= least));
        row.hidden = !fits;
        if (fits) { seen += 1; if (sure !== null) wrong += 1 - sure; }
      });
      var line = seen + " of " + rows.length + " rows";
      if (slider) {
        line += ", probability at least " + least.toFixed(2) + ": " + wrong.toFixed(1) + " expected to be wrong";
        if (seen) line += " (" + (100 * wrong / seen).toFixed(0) + "%)";
      }
      told.textContent = line;
    };
    search.addEventListener("input", show);
    if (slider) slider.addEventListener("input", show);
    table.parentNode.parentNode.insertBefore(bar, table.parentNode);
    show();
  }
  Array.prototype.forEach.call(document.querySelectorAll("div.scroll > table"), prepare);
})();
""".replace("FEWEST", str(FEWEST))
HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""Of the script, for the policy of the page."""
