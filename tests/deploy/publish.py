"""A published port: ``python publish.py FD HOST PORT`` takes connections from a listening socket that was
made on another machine (network namespace) and passes them on to an address of the one where this runs."""

import asyncio
import contextlib
import socket
import sys


async def copy(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(listening, host, port):
    async def passed_on(reader, writer):
        try:
            there, back = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(passed_on, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
