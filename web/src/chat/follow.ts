/** Reads the events of a run to its end, over as many connections as it takes. */

import { ApiError, request } from "../api/client";
import { EventParser } from "../api/sse";
import type { Message, RunEvent } from "../api/types";
import type { Live } from "./live";

const FIRST_WAIT = 400; // milliseconds before the second try
const LONGEST_WAIT = 8000;

/** The final message; null where the run is not known any more or the session has ended. */
export async function followRun(runId: string, live: Live): Promise<Message | null> {
  let after = 0;
  let wait = FIRST_WAIT;
  for (;;) {
    try {
      const response = await request("GET", `/runs/${runId}/events?after=${after}`);
      live.broken.value = false;
      for await (const { id, event, data } of readEvents(response)) {
        wait = FIRST_WAIT;
        if (id !== null) after = Number(id);
        const message = live.apply({ event, data: JSON.parse(data) } as RunEvent);
        if (message) return message;
      }
    } catch (error) {
      if (error instanceof ApiError && (error.status === 404 || error.status === 401)) return null;
    }
    live.broken.value = true;
    await pause(wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

async function* readEvents(response: Response) {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body!.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield* parser.push(decoder.decode(value, { stream: true }));
  }
}

/** Waits; shorter where the browser says that the network is back. */
function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      clearTimeout(timer);
      removeEventListener("online", go);
      resolve();
    };
    const timer = setTimeout(go, milliseconds);
    addEventListener("online", go);
  });
}
