// The smallest correct worker in Node. The pipes are sockets to libuv: a file stream on them would block a thread that
// nothing can wake.
const fs = require("node:fs");
const net = require("node:net");

const REPLY_MAX = 4096;
const items = new net.Socket({ fd: 3, readable: true, writable: false });
const exit = new net.Socket({ fd: 5, readable: true, writable: false });

async function work(item) {
  return Buffer.concat([Buffer.from("node did "), item]); // its result is one line
}

function cleanup() {
  console.error("node cleaned up");
}

function answer(token, result) {
  let reply = Buffer.concat([Buffer.from(`ok ${token} `), result, Buffer.from("\n")]);
  if (reply.length > REPLY_MAX) {
    reply = Buffer.from(`fail ${token} a result of ${result.length} bytes does not fit in a reply\n`);
  }
  fs.writeSync(4, reply);
}

let leaving = false;
exit.once("readable", () => { leaving = true; items.destroy(); }); // a word or the end; destroy ends the loop below

async function main() {
  let buffer = Buffer.alloc(0);
  for await (const chunk of items) {
    buffer = Buffer.concat([buffer, chunk]);
    for (let end; (end = buffer.indexOf("\n")) >= 0; buffer = buffer.subarray(end + 1)) { // no line feed, no item
      await new Promise((turn) => setImmediate(setImmediate, turn)); // twice: a whole poll, so that the event is heard
      if (leaving) return;
      const space = buffer.indexOf(" ");
      answer(buffer.toString("latin1", 0, space), await work(buffer.subarray(space + 1, end)));
    }
  }
}

main()
  .catch((error) => { // a destroyed stream says so, and a killed exeunt takes no answer
    if (!["ERR_STREAM_PREMATURE_CLOSE", "EPIPE"].includes(error.code)) throw error;
  })
  .finally(() => { exit.destroy(); items.destroy(); cleanup(); }); // nothing keeps the process now
