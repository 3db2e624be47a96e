"""``python client.py PORT``: asks until its standard input is closed, then prints how often it got what, as JSON."""

import http.client
import json
import select
import sys
from collections import Counter

seen: Counter[str] = Counter()
while not select.select([sys.stdin], [], [], 0.005)[0]:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        seen[f"{answer.status} {answer.getheader('x-bulkhead-revision')}"] += 1
    except OSError as error:
        seen[f"error {type(error).__name__}"] += 1
    finally:
        connection.close()
print(json.dumps(seen))
