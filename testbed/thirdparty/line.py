"""The line between two sites: forwards TCP, and can be cut.

Two ways of cutting: "silent" keeps every connection and lets nothing through, as a line that drops packets does;
"closed" resets what is open and refuses what is new, as a machine that went down does.

By hand: `testbed/thirdparty.sh line`. Ctrl-C is the cut, starting it again heals.
"""
import asyncio
import sys
import threading

# What the edge dials: what the cloud listens at. Links, then control.
PORTS = {17443: 7443, 17447: 7447}


class Line:
    """Runs in a thread of its own; `cut` and `heal` may be called from any other."""

    def __init__(self, ports=PORTS):
        self.ports = ports
        self.loop = asyncio.new_event_loop()
        self.servers, self.writers = [], set()
        self.open = None
        self.thread = threading.Thread(target=self._run, name="line", daemon=True)

    def start(self):
        self.thread.start()
        self._call(self._listen())

    def cut(self, how):
        self._call(self._close() if how == "closed" else self._silence())

    def heal(self):
        self._call(self._listen())

    def stop(self):
        self._call(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.open = asyncio.Event()
        self.loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _listen(self):
        self.open.set()
        if self.servers:
            return
        for dialled, target in self.ports.items():
            serve = lambda reader, writer, target=target: self._serve(reader, writer, target)
            self.servers.append(await asyncio.start_server(serve, "127.0.0.1", dialled))

    async def _silence(self):
        self.open.clear()

    async def _close(self):
        for server in self.servers:
            server.close()
        self.servers = []
        for writer in list(self.writers):
            writer.transport.abort()

    async def _end(self):
        await self._close()
        self.open.set()  # who waits for the line finds its connection gone
        running = asyncio.all_tasks() - {asyncio.current_task()}
        if running:
            await asyncio.wait(running, timeout=2)

    async def _serve(self, reader, writer, target):
        await self.open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self.writers |= ends
        pumps = [self._pump(reader, far_writer), self._pump(far_reader, writer)]
        await asyncio.gather(*pumps, return_exceptions=True)
        self.writers -= ends

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            await self.open.wait()
            writer.close()


def main():
    line = Line()
    try:
        line.start()
    except OSError as error:
        sys.exit(f"the line cannot listen: {error}")
    print("the line is up: " + ", ".join(f"127.0.0.1:{a} -> {b}" for a, b in PORTS.items()) + "; Ctrl-C cuts it", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        line.stop()
        print("\nthe line is cut")


if __name__ == "__main__":
    main()
