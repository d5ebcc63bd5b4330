-- df.http: what is refused before anything is sent, and who may send. (What is sent: tests/engine.)

SELECT df.http('http://example.com/');
--! 42501: permission denied for function http
\as admin
SELECT df.grant_usage(:'me', include_http => true);
-->
\as me
SELECT df.http('https://example.com/hook', 'POST', '{"a":"$x"}', '{"X-Key": "k"}', 5);
--> {"node_type":"HTTP","query":"{\"url\":\"https://example.com/hook\",\"method\":\"POST\",\"body\":\"{\\\"a\\\":\\\"$x\\\"}\",\"headers\":{\"X-Key\":\"k\"},\"timeout_seconds\":5}"}
SELECT df.http('http://example.com/', 'get');
--> {"node_type":"HTTP","query":"{\"url\":\"http://example.com/\",\"method\":\"GET\",\"body\":null,\"headers\":null,\"timeout_seconds\":30}"}
SELECT df.http_multipart('https://example.com/', parts => '[{"name":"f","data_b64":"aGk="}]');
--> {"node_type":"HTTP_MULTIPART","query":"{\"url\":\"https://example.com/\",\"method\":\"POST\",\"parts\":[{\"name\":\"f\",\"data_b64\":\"aGk=\"}],\"headers\":null,\"timeout_seconds\":30}"}
SELECT df.http('ftp://example.com/');
--! 22023: unsupported URL scheme in "ftp://example.com/": it must be http or https
SELECT df.http('');
--! 22023: URL cannot be empty
SELECT df.http('http://example.com/', 'HEAD');
--! 22023: unsupported HTTP method "HEAD": it must be GET, POST, PUT, DELETE, PATCH
SELECT df.http('http://example.com/', timeout_seconds => 0);
--! 22023: Timeout must be positive, got 0
SELECT df.http('http://example.com/', headers => '[]');
--! 22023: headers must be a JSON object
SELECT df.http('http://example.com/', headers => '{"Host": "other"}');
--! 22023: header "Host" cannot be set
SELECT df.http_multipart('http://example.com/');
--! 22023: parts must be a JSON array with at least one part
SELECT df.http_multipart('http://example.com/', 'GET', '[{"name":"f","data_b64":"aGk="}]');
--! 22023: unsupported HTTP method "GET": it must be POST, PUT, PATCH
SELECT df.http_multipart('http://example.com/', parts => '[{"name":"f","data_b64":"not base64!"}]');
--! 22023: data_b64 of part 1 is not base64
SELECT df.http_multipart('http://example.com/', parts => '[{"name":"f","data_b64":"x$y"}]');
--! 22023: data_b64 of part 1 must be base64, or a whole-value reference such as $name.column

-- where it may go: nowhere private unless the server's configuration says so
df.http('http://127.0.0.1:1/', 'GET') \run
--> failed: WF023 host "127.0.0.1" is a bare IP address
df.http('http://[::1]:1/', 'GET') \run
--> failed: WF023 host "::1" is a bare IP address
df.http('http://10.0.0.1/', 'GET') \run
--> failed: WF023 host "10.0.0.1" is a bare IP address
df.http('http://169.254.169.254/latest/meta-data/', 'GET') \run
--> failed: WF023 host "169.254.169.254" is a bare IP address

-- the right is asked for again when the step's turn has come
SELECT df.start(df.wait_for_signal('go') ~> df.http('http://127.0.0.1:1/', 'GET')) AS id \gset
\as admin
SELECT df.revoke_usage(:'me');
-->
SELECT df.grant_usage(:'me');
-->
\as me
SELECT df.signal(:'id', 'go');
--> OK
SELECT df.await_instance(:'id');
--> failed
SELECT output FROM df.instance_info(:'id');
--> role ":me" does not have EXECUTE privilege on df.http()
