"""A booking desk: a plain HTTP service that knows nothing of Accordant.

  python3 desk.py PORT FREE       has FREE things to give away
  POST   /bookings                200 with the booking, 409 if nothing is left
  DELETE /bookings/ID             200; it is free again
  GET    /free                    200 with how many are left

What comes twice under one Idempotency-Key is done once and answered twice, also when the booking is
cancelled in between: a request may be held up on its way. That is all that a saga asks of a service. (This one forgets when it ends; a real one writes the answers into its database,
in the transaction that does the work: see ../src/bin/trip/car.py.)
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

port, free = int(sys.argv[1]), int(sys.argv[2])
bookings, answers = set(), {}


def book():
    global free
    if free == 0:
        return 409, {"code": "full", "detail": "nothing is left"}
    free -= 1
    bookings.add(len(answers))
    return 200, {"id": len(answers)}


def cancel(number):
    global free
    if number in bookings:
        bookings.remove(number)
        free += 1
    return 200, {}


class Desk(BaseHTTPRequestHandler):
    def do_POST(self):
        self.once(book)

    def do_DELETE(self):
        self.once(lambda: cancel(int(self.path.rpartition("/")[2])))

    def do_GET(self):
        self.reply(200, {"free": free})

    def once(self, work):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = self.headers["Idempotency-Key"]
        if key not in answers:
            answers[key] = work()
        self.reply(*answers[key])

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        print(f"desk {port}: {self.command} {self.path}, key {self.headers['Idempotency-Key']}")


HTTPServer(("127.0.0.1", port), Desk).serve_forever()
