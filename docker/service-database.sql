-- Run once, by the superuser, when a service's database server has an empty volume: the service's own role, which owns
-- its database and nothing else. Preparing a transaction and resolving one's own needs no more; setting a restore point
-- needs to be allowed, in that database.
\getenv service SERVICE
\getenv role SERVICE_ROLE
\getenv password SERVICE_PASSWORD
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"role";
REVOKE ALL ON DATABASE :"service", postgres, template1 FROM PUBLIC;
\connect :service
GRANT EXECUTE ON FUNCTION pg_create_restore_point TO :"role";
