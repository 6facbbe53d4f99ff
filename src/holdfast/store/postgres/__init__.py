"""The store on PostgreSQL: the same functions and the same SQL, for many processes."""
