import { RemoteEngine } from "../engine/index.ts";
console.log(new RemoteEngine());
