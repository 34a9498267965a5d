"""Install scripts of packages: which of them run, with which files and mirrors."""
