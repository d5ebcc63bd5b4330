-- Who may use df, and whose rights a step has.

\as nobody
SELECT df.start('SELECT 1');
--! 42501: permission denied for schema df
SELECT count(*) FROM df.instances;
--! 42501: permission denied for schema df

-- granted, with a name that needs quoting
\as root
CREATE ROLE "Odd ""name" NOLOGIN;
\as admin
SELECT df.grant_usage(:'nobody');
-->
SELECT df.grant_usage('Odd "name');
-->
SELECT df.revoke_usage('Odd "name');
-->
SELECT df.grant_usage('no such role');
--! 42704: role "no such role" does not exist
SELECT df.revoke_usage('no such role');
--! 42704: role "no such role" does not exist
\as root
DROP ROLE "Odd ""name";

\as nobody
'SELECT current_user = session_user AS own' \run
--> completed: {"rows":[{"own":true}],"row_count":1}
SELECT df.grant_usage(:'other');
--! 42501: permission denied for function grant_usage
SELECT df.revoke_usage(:'other');
--! 42501: permission denied for function revoke_usage

-- with the grant option, it may pass it on
\as admin
SELECT df.grant_usage(:'me', with_grant => true);
-->
SELECT df.revoke_usage(:'nobody');
-->
\as nobody
SELECT df.start('SELECT 1');
--! 42501: permission denied for schema df
\as me
SELECT df.grant_usage(:'nobody');
-->
\as nobody
SELECT df.start('SELECT 1') IS NULL;
--> f

-- a step has the rights of who started it
\as me
CREATE TABLE private (n int);
\as other
SELECT df.start(format('SELECT * FROM %I.private', :'me')) AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT output FROM df.instance_info(:'id');
--> permission denied for schema :me

-- in a SECURITY DEFINER function that is the definer, who also owns the instance
\as me
GRANT USAGE ON SCHEMA :"me" TO :"other";
CREATE FUNCTION shared() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT df.start('INSERT INTO private VALUES (1)', 'shared') $$;
\as other
SELECT :"me".shared() AS id \gset
SELECT df.status(:'id') IS NULL;
--> t
SELECT count(*) FROM df.instances WHERE label = 'shared';
--> 0
\as me
SELECT df.await_instance(:'id');
--> completed
SELECT submitted_by = current_user::regrole FROM df.instances WHERE id = :'id';
--> t
TABLE private;
--> 1

-- superusers may not start, unless the setting says so
\as root
SELECT df.start('SELECT 1');
--! 42501: superuser :root may not start durable functions
SET pg_durable.enable_superuser_instances = on;
SELECT df.start('SELECT 1') IS NULL;
--> f
RESET pg_durable.enable_superuser_instances;
\as me
SET pg_durable.enable_superuser_instances = on;
SELECT current_setting('pg_durable.enable_superuser_instances');
--> on

-- a role that may not log in cannot run steps
\as root
CREATE ROLE :"group" NOLOGIN;
GRANT :"group" TO :"me";
\as admin
SELECT df.grant_usage(:'group');
-->
\as me
SET ROLE :"group";
SELECT df.start('SELECT 1');
--! 28000: role :group cannot run durable functions
RESET ROLE;
\as root
DROP OWNED BY :"group";
DROP ROLE :"group";

-- what users may not touch
\as me
SELECT count(*) FROM df._instances;
--! 42501: permission denied for table _instances
UPDATE df._own SET status = 'completed';
--! 42501: permission denied for view _own
DELETE FROM df.instances;
--! 55000: cannot delete from view "_shown"
INSERT INTO df._vars (name, value) VALUES ('a', 'b');
--! 42501: permission denied for table _vars
INSERT INTO df._commands (verb, name, who) VALUES ('clearvars', 'x', 1);
--! 42501: permission denied for table _commands
