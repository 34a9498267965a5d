// A worker: counts the lines of a file that contain a word, and writes down when it did so.
import * as os from "os";
import * as std from "std";
import { matches } from "./lines.js";

function write(path, text) {
  const file = std.open(path, "w");
  file.puts(text);
  file.close();
}

function work() {
  const found = matches(std.loadFile("package.json") || "", "worker.js");
  write("worker.beat", `${Date.now()} ${found.length}\n`);
  os.setTimeout(work, 500);
}

write("worker.pid", `${os.getpid()}\n`);
console.log(`working under QuickJS for ${std.getenv("SERVER_ENV")}`);
work();
