"""``python client.py PORT``: asks until its standard input is closed, then prints how often it got what, as JSON.

It keeps its connection, as clients of a service do: the gateway chooses for each request anew.
"""

import http.client
import json
import select
import sys
from collections import Counter

PERIOD_S = 0.01

seen: Counter[str] = Counter()
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
while not select.select([sys.stdin], [], [], PERIOD_S)[0]:
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        seen[f"{answer.status} {answer.getheader('x-bulkhead-revision')}"] += 1
    except (OSError, http.client.HTTPException) as error:
        seen[f"error {type(error).__name__}"] += 1
        connection.close()
print(json.dumps(seen))
