// The server that the tests beside this file are pointed at, by `run`.

export const url = process.env.PONDER_URL; // without /v1
export const model = process.env.PONDER_MODEL;

// What a small model cannot be relied on to do: think, call a tool unasked, say what it is told to say.
export const obliging = process.env.PONDER_OBLIGING === "1";
export const ifObliging = obliging ? {} : { skip: "judges what a model says; needs the obliging one" };

export const PONG = "reply exactly PONG";
export const WEATHER = "What is the weather in Oslo? Call the tool.";
