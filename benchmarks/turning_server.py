"""``python turning_server.py PORT``: a model that answers well until ``POST /turn``, and with 500 from then on."""

import asyncio
import sys

GOOD = b'{"predictions": [7]}'
state = {"good": True}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests, one after the other."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode("latin-1").split("\r\n")
            lengths = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length:")]
            await reader.readexactly(int(lengths[0]) if lengths else 0)
            path = lines[0].split(" ")[1]
            if path == "/turn":
                state["good"] = False
            well = state["good"] or path in ("/ping", "/turn")
            body = GOOD if well else b""
            status = "200 OK" if well else "500 Internal Server Error"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return  # the client has gone
    finally:
        writer.close()


async def main() -> None:
    """Serve until the process ends."""
    server = await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
