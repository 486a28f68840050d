// The smallest correct worker in Node. The pipes are sockets to libuv: a file stream on them would block a thread that
// nothing can wake.
const fs = require("node:fs");
const net = require("node:net");

const items = new net.Socket({ fd: 3, readable: true, writable: false });
const exit = new net.Socket({ fd: 5, readable: true, writable: false });

async function work(item) {
  return Buffer.concat([Buffer.from("node did "), item]);
}

let leaving = false;
exit.resume();
exit.on("close", () => { leaving = true; items.destroy(); }); // destroy ends the loop below

async function main() {
  let buffer = Buffer.alloc(0);
  for await (const chunk of items) {
    buffer = Buffer.concat([buffer, chunk]);
    for (let end; (end = buffer.indexOf("\n")) >= 0; ) { // no line feed, no item
      const line = buffer.subarray(0, end);
      buffer = buffer.subarray(end + 1);
      const space = line.indexOf(" ");
      const result = await work(line.subarray(space + 1));
      fs.writeSync(4, Buffer.concat([Buffer.from("ok "), line.subarray(0, space + 1), result, Buffer.from("\n")]));
      await new Promise(setImmediate); // a turn of the event loop, so that the exit event is heard between two items
      if (leaving) return;
    }
  }
}

main()
  .catch((error) => { if (!leaving) throw error; }) // a destroyed stream says so
  .finally(() => { exit.destroy(); items.destroy(); }); // clean up here; nothing keeps the process now
