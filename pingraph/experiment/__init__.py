"""`pingraph experiment`: grids of data sets, conditions, methods and seeds, run and compared."""
