import { start } from "./live.js";
import { SocketSource } from "./socket-source.js";

start(new SocketSource());
