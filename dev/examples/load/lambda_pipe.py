"""The smallest function in Python: passes events to the upstream, and its answers to the Runtime API, without checks."""

import http.client
import json
import os
import urllib.parse

INVOCATION = '/2018-06-01/runtime/invocation'
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
upstream = urllib.parse.urlsplit(os.environ['IMAGE_API_BASE_URL']).netloc


def pieces(answer):
    head = {'statusCode': answer.status, 'headers': {'content-type': answer.getheader('content-type')}}
    yield json.dumps(head).encode() + bytes(8)
    while piece := answer.read1(65536):
        yield piece


while True:
    api.request('GET', INVOCATION + '/next')
    event = api.getresponse()
    request_id, body = event.getheader('lambda-runtime-aws-request-id'), json.load(event)['body']
    call = http.client.HTTPConnection(upstream)
    call.request('POST', '/v1/chat/completions', body)
    headers = {
        'content-type': 'application/vnd.awslambda.http-integration-response',
        'lambda-runtime-function-response-mode': 'streaming',
    }
    api.request('POST', f'{INVOCATION}/{request_id}/response', pieces(call.getresponse()), headers, encode_chunked=True)
    api.getresponse().read()
    call.close()
