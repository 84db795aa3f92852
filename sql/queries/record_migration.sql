INSERT INTO schema_migrations (number, name, checksum) VALUES (:number, :name, :checksum);
