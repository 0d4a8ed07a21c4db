"""A server that speaks the chat part of OpenAI's protocol, and fails as servers do."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(number, count=2):
    """A proper answer, different for every number."""
    return {
        "zh": [f"第{number}段安静的钢琴曲，像雨夜{n}" for n in range(count)],
        "en": [f"a calm piano piece, number {number}-{n}, for a rainy night" for n in range(count)],
    }


def says(content, usage=True):
    """Answers with this text, or with this object as JSON."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "small", "choices": [message]}
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}
    return 200, {}, json.dumps(body).encode()


def slowly(response):
    """The same response, whose last bytes come one by one."""
    status, headers, body = response
    return status, headers, [body[:-5], *(body[place : place + 1] for place in range(len(body) - 5, len(body)))]


def fails(status, message="no", **headers):
    """An error as the protocol has it."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode()
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body


class Server:
    """Gives the responses of `script`, one a request, then proper answers; keeps what it was asked."""

    def __init__(self, script, count, delay):
        self.script, self.count, self.delay = list(script), count, delay
        self.requests, self.times, self.keys = [], [], []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def respond(self, request, key):
        with self.lock:
            self.requests.append(request)
            self.times.append(time.monotonic())
            self.keys.append(key)
            number = len(self.requests)
            step = self.script.pop(0) if self.script else None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delay)
        try:
            return step(request) if callable(step) else step or says(answer(number, self.count))
        finally:
            with self.lock:
                self.at_once -= 1


@contextmanager
def serving(*script, count=2, delay=0.0):
    """A server on this machine; its `url` is the base URL."""
    server = Server(script, count, delay)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, headers, body = server.respond(request, self.headers.get("authorization"))
            try:
                self.send_response(status)
                for name, value in {
                    "content-type": "application/json",
                    "content-length": str(len(body) if isinstance(body, bytes) else sum(map(len, body))),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in [body] if isinstance(body, bytes) else body:
                    self.wfile.write(piece)
                    time.sleep(0.0 if isinstance(body, bytes) else 0.15)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has lost patience

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
