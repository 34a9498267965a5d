"""Install scripts of packages: what becomes of each, and what it may take while it runs."""
