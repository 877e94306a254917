// Passes requests to the upstream in the first argument, and the answers back.
import http from 'node:http';

const upstream = new URL(process.argv[2]);
const agent = new http.Agent({ keepAlive: true });
const server = http.createServer((request, response) => {
  const options = { agent, method: request.method, host: upstream.hostname, port: upstream.port, path: request.url };
  const call = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] });
    answer.pipe(response);
  });
  request.pipe(call);
});
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
