import { start } from "./live.js";
import { WorkerSource } from "./worker-source.js";

start(new WorkerSource());
