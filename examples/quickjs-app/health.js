// The worker is healthy if it has worked within the last five seconds.
import * as std from "std";

const beat = parseInt(std.loadFile("worker.beat") || "0", 10);
if (Date.now() - beat > 5000) {
  console.log(`the worker has not worked since ${new Date(beat).toISOString()}`);
  std.exit(1);
}
