//! IPLoop's data: SQLite and PostgreSQL from one SQL source, and their migrations.
