"""Files read and written: expression, stored fits, annotated data, simulations."""
