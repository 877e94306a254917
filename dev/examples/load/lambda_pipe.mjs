// The smallest function in Node: passes events to the upstream, and its answers to the Runtime API, without checks.
import { once } from 'node:events';
import http from 'node:http';

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const upstream = new URL(process.env.IMAGE_API_BASE_URL);
const agent = new http.Agent({ keepAlive: true });
const INVOCATION = '/2018-06-01/runtime/invocation';

async function answerOf(request) {
  const [answer] = await once(request, 'response');
  return answer;
}

for (;;) {
  const next = await answerOf(http.request({ agent, host, port, path: `${INVOCATION}/next` }).end());
  const pieces = [];
  for await (const piece of next) pieces.push(piece);
  const event = JSON.parse(Buffer.concat(pieces));
  const response = http.request({
    agent,
    host,
    port,
    method: 'POST',
    path: `${INVOCATION}/${next.headers['lambda-runtime-aws-request-id']}/response`,
    headers: {
      'content-type': 'application/vnd.awslambda.http-integration-response',
      'lambda-runtime-function-response-mode': 'streaming',
      'transfer-encoding': 'chunked',
    },
  });
  const call = { method: 'POST', host: upstream.hostname, port: upstream.port, path: '/v1/chat/completions' };
  const answer = await answerOf(http.request({ agent, ...call }).end(event.body));
  const prelude = { statusCode: answer.statusCode, headers: { 'content-type': answer.headers['content-type'] } };
  response.write(JSON.stringify(prelude) + '\0'.repeat(8));
  answer.pipe(response);
  (await answerOf(response)).resume();
}
