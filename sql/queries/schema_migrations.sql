-- Migrations already applied, in order.
-- returns: number integer, name text, checksum text
SELECT number, name, checksum FROM schema_migrations ORDER BY number;
