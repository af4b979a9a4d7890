"""Rental cars: a plain HTTP service that knows nothing of Accordant. Python 3, nothing else.

It does the one thing that a saga asks of a plain service: what comes twice under one
Idempotency-Key is done once and answered twice, over a crash too. So the answer is stored in the
same transaction as the work.

  POST   /bookings        {"trip": .., "day": ..}     201 with the booking, 409 if no car is left
  PUT    /bookings/ID     {"state": "confirmed"}      200
  DELETE /bookings/ID                                 200; the car is free again
  GET    /bookings                                    200 with all that is booked and free
"""

import argparse
import json
import os
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--listen", required=True)
parser.add_argument("--database", required=True)
parser.add_argument("--ready-file", required=True)
parser.add_argument("--diary", required=True, help="what was asked and said, one line each")
parser.add_argument("--days", type=int, required=True)
parser.add_argument("--cars", type=int, required=True, help="on each day; on day 0 there is none")
parser.add_argument("--work-ms", type=int, default=0)
arguments = parser.parse_args()

lock = threading.Lock()
database = sqlite3.connect(arguments.database, check_same_thread=False, isolation_level=None)
database.executescript("""
    pragma journal_mode = wal;
    pragma synchronous = full;
    create table if not exists car (day integer primary key, free integer not null);
    create table if not exists booking (id integer primary key, trip text, day integer, state text);
    create table if not exists answer (key text primary key, status integer, body text);
""")
for day in range(arguments.days):
    cars = arguments.cars if day > 0 else 0
    database.execute("insert or ignore into car values (?, ?)", (day, cars))


def book(_, wish):
    day = wish["day"]
    taken = database.execute("update car set free = free - 1 where day = ? and free > 0", (day,))
    if taken.rowcount == 0:
        return 409, {"code": "full", "detail": f"no car is left on day {day}"}
    insert = "insert into booking (trip, day, state) values (?, ?, 'pending')"
    row = database.execute(insert, (wish["trip"], day))
    return 201, {"id": row.lastrowid, "bring_to": wish.get("bring_to")}


def confirm(number, _):
    update = "update booking set state = 'confirmed' where id = ? and state = 'pending'"
    database.execute(update, (number,))
    return 200, None


def cancel(number, _):
    pending = "select day from booking where id = ? and state = 'pending'"
    for (day,) in database.execute(pending, (number,)).fetchall():
        database.execute("update booking set state = 'cancelled' where id = ?", (number,))
        database.execute("update car set free = free + 1 where day = ?", (day,))
    return 200, None


def once(key, work, number, wish):
    """Does it, or says again what was said when it was done."""
    with lock:
        database.execute("begin immediate")
        try:
            stored = "select status, body from answer where key = ?"
            known = database.execute(stored, (key,)).fetchone()
            if known is None:
                status, body = work(number, wish)
                known = status, json.dumps(body)
                database.execute("insert into answer values (?, ?, ?)", (key, *known))
            database.execute("commit")
            return known
        except BaseException:
            database.execute("rollback")
            raise


class Desk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body would wait for each other's acknowledgement.
    disable_nagle_algorithm = True

    def do_POST(self):
        self.work(book)

    def do_PUT(self):
        self.work(confirm)

    def do_DELETE(self):
        self.work(cancel)

    def do_GET(self):
        with lock:
            bookings = database.execute("select trip, day, state from booking").fetchall()
            free = database.execute("select day, free from car").fetchall()
        self.reply(200, json.dumps({"bookings": bookings, "free": free}))

    def work(self, work):
        length = int(self.headers.get("Content-Length") or 0)
        wish = json.loads(self.rfile.read(length) or "null")
        number = self.path.rpartition("/")[2]
        self.note("", "")
        time.sleep(arguments.work_ms / 1000)
        status, body = once(self.headers["Idempotency-Key"], work, number, wish)
        refused = status == 409
        self.note("refused" if refused else "done", json.loads(body)["detail"] if refused else body)
        self.reply(status, body)

    def reply(self, status, body):
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def note(self, said, more):
        """For the demo's timeline. The headers are the only trace of Accordant here."""
        header = self.headers.get
        entry = {"at_ms": time.time() * 1000, "who": "car"}
        entry["gtid"] = header("Accordant-Transaction", "")
        entry["operation"] = header("Accordant-Step", "")
        entry["verb"] = header("Accordant-Verb", "")
        entry["attempt"] = int(header("Accordant-Attempt", "1"))
        entry["said"] = said
        entry["more"] = "" if more == "null" else more
        with open(arguments.diary, "a", encoding="utf-8") as diary:
            diary.write(json.dumps(entry) + "\n")

    def log_message(self, *_):
        pass


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


host, _, port = arguments.listen.rpartition(":")
desk = ThreadingHTTPServer((host, int(port)), Desk)
threading.Thread(target=end_with_parent, daemon=True).start()
with open(arguments.ready_file + ".part", "w", encoding="utf-8") as ready:
    ready.write(json.dumps({"address": arguments.listen}))
os.rename(arguments.ready_file + ".part", arguments.ready_file)
desk.serve_forever()
