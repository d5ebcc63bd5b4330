-- df.start(..., database => 'x'): steps run there, as the same role.

SELECT df.start('SELECT current_database() AS there, current_user AS who, 1.50 AS price' |=> 'x' ~> ('SELECT $x.price * 2 AS twice' & ('$x.price > 2' ?> 'SELECT 1' !> 'SELECT ''in $x.there'' AS place')), 'elsewhere', 'postgres') AS id \gset
SELECT df.await_instance(:'id'), df.result(:'id');
--> completed|[{"rows":[{"twice":"3.00"}],"row_count":1},{"rows":[{"place":"in postgres"}],"row_count":1}]
SELECT database FROM df.instances;
--> postgres
SELECT DISTINCT database FROM df.nodes;
--> postgres
SELECT df.explain(:'id');
--> Instance: :id (elsewhere)
--> Status:   ✓ Completed
--> Database: postgres (each step at least once)
--> Output:   [{"rows":[{"twice":"3.00"}],"row_count":1},{"rows":[{"place":"in postgres"}],"row_count":1}]
-->
--> SQL |=> 'x': SELECT current_database() AS there, current_user AS who, 1.50 AS price ✓
-->      = {"rows":[{"there":"postgres","who":":me","price":"1.50"}],"row_count":1}
--> → JOIN ✓
-->     branch 1:
-->         SQL: SELECT $x.price * 2 AS twice ✓
-->     branch 2:
-->         IF ✓
-->             condition:
-->                 SQL: $x.price > 2 ✓
-->             then:
-->                 SQL: SELECT 1 ⊘
-->             else:
-->                 SQL: SELECT 'in $x.there' AS place ✓

-- what fails there
SELECT df.start('SELECT 1/0', database => 'postgres') AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT output FROM df.instance_info(:'id');
--> division by zero
SELECT df.start('CREATE SCHEMA mine', database => 'postgres') AS id \gset
SELECT df.await_instance(:'id');
--> failed
SELECT output FROM df.instance_info(:'id');
--> permission denied for database postgres

-- which databases
SELECT df.start('SELECT 1', database => 'nosuch');
--! 3D000: database "nosuch" does not exist
SELECT df.start('SELECT 1', database => 'template0');
--! 3D000: database "template0" does not exist
SELECT df.start('SELECT 1', database => '');
--! 3D000: database "" does not exist
SELECT df.start('SELECT 1', database => 'nosuch', transaction_mode => 'new');
--! 3D000: database "nosuch" does not exist
