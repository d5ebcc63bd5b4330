-- Graphs that no constructor wrote are read with the same care.

'{"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SQL","query":"SELECT 2 AS n"}}' \run
--> completed: {"rows":[{"n":2}],"row_count":1}
'{"query":"SELECT 3 AS n","node_type":"SQL","comment":"ignored"}' \run
--> completed: {"rows":[{"n":3}],"row_count":1}
'{"node_type":"JOIN","left_node":{"node_type":"SLEEP","query":"0"},"right_node":{"node_type":"SLEEP","query":"0"},"extra_nodes":[{"node_type":"SLEEP","query":"0"},{"node_type":"SLEEP","query":"0"}]}' \run
--> completed: [{"slept":true,"seconds":0},{"slept":true,"seconds":0},{"slept":true,"seconds":0},{"slept":true,"seconds":0}]
'{"node_type":"GOTO"}' \run
--! 22023: Unknown node_type 'GOTO'
'{"node_type":"sql","query":"SELECT 1"}' \run
--! 22023: Unknown node_type 'sql'
'{"node_type":"SQL"}' \run
--! 22023: a SQL node needs a query
'{"node_type":"SQL","query":7}' \run
--! 22023: query of SQL must be a string
'{"node_type":"SQL","query":null}' \run
--! 22023: a SQL node needs a query
'{"node_type":"SQL","query":"SELECT 1","condition_node":{"node_type":"SQL","query":"SELECT 1"}}' \run
--! 22023: a SQL node takes no condition_node
'{"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"}}' \run
--! 22023: a THEN node needs left_node and right_node
'{"node_type":"THEN","left_node":"SELECT 1","right_node":"SELECT 2"}' \run
--! 22023: a node must be a JSON object, not string
'{"node_type":"LOOP"}' \run
--! 22023: a LOOP node needs left_node
'{"node_type":"IF","left_node":{"node_type":"SQL","query":"SELECT 1"}}' \run
--! 22023: an IF node needs a condition_node, or a condition_type with a result_name
'{"node_type":"IF","query":"{}","left_node":{"node_type":"SQL","query":"SELECT 1"}}' \run
--! 22023: an IF node needs a condition_node, or a condition_type with a result_name
'{"node_type":"IF","query":"rows","left_node":{"node_type":"SQL","query":"SELECT 1"}}' \run
--! 22023: query of IF must be valid JSON config
'{"node_type":"JOIN","left_node":{"node_type":"SLEEP","query":"0"},"right_node":{"node_type":"SLEEP","query":"0"},"extra_nodes":["SELECT 1"]}' \run
--! 22023: extra_nodes entries must be nodes
'{"node_type":"SLEEP","query":"-1"}' \run
--! 22023: sleep duration must be non-negative and at most 1000 years, got '-1'
'{"node_type":"SLEEP","query":"soon"}' \run
--! 22023: sleep duration must be non-negative and at most 1000 years, got 'soon'
'{"node_type":"SIGNAL","query":"go"}' \run
--! 22023: query of SIGNAL must be valid JSON config
'{"node_type":"SIGNAL","query":"{\"signal_name\":\"\"}"}' \run
--! 22023: Signal name cannot be empty
'{"node_type":"SIGNAL","query":"{\"signal_name\":\"a\",\"timeout_seconds\":0}"}' \run
--! 22023: Timeout must be positive, got 0
'{"node_type":"SQL","query":"SELECT 1","result_name":"no name"}' \run
--! 22023: result name "no name" is not a valid identifier
'{"node_type":"SQL","query":"SELECT 1","result_name":""}' \run
--! 22023: result name cannot be empty
-- what begins as a node and is no JSON, and what is JSON and no node
SELECT df.start('{"node_type":"SQL","query":"SELECT 1"');
--! 22023: durable function is not valid JSON
SELECT df.start('{"node_type":"SQL","query":"SELECT 1"} garbage');
--! 22023: durable function is not valid JSON
SELECT df.start('{"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":}');
--! 22023: durable function is not valid JSON
SELECT df.start(E'{"node_type":"SQL","query":"SELECT \\u0000"}') IS NULL;
--! 22P05: unsupported Unicode escape sequence
SELECT df.start('{"a":1}' ~> 'SELECT 1') IS NULL;
--> f
SELECT df.explain('{"node_type":"SQL","query":');
--> Invalid durable function graph: invalid input syntax for type json
