import { Failure, failure, parse, unreachable } from "./client";
import type { components } from "./schema";

type Schemas = components["schemas"];

/** The streams of the server: what is asked, and the data of each event by its name. */
export interface Streams {
  "/api/verify": {
    body: Schemas["VerifyQuestion"];
    events: { start: Schemas["VerifyStart"]; rows: Schemas["VerifiedRows"]; done: Schemas["VerifyDone"] };
  };
  "/api/sweep": {
    body: Schemas["SweepQuestion"];
    events: { start: Schemas["SweepStart"]; cells: Schemas["SweepCells"]; done: Schemas["SweepDone"] };
  };
  "/api/generate": {
    body: Schemas["GenerateQuestion"];
    events: { token: Schemas["GeneratedToken"]; done: Schemas["GenerateDone"] };
  };
  "/api/collect": {
    body: Schemas["CollectRequest"];
    events: { progress: Schemas["CollectProgress"]; done: Schemas["CollectDone"] };
  };
}

type Named<Events> = { [Name in keyof Events]: { name: Name; data: Events[Name] } }[keyof Events];
/** One event of a stream, told apart by its name. */
export type StreamEvent<Path extends keyof Streams> = Named<Streams[Path]["events"]>;

/**
 * Asks for long work and hands on each event as it comes; resolves after `done`.
 *
 * Rejects with a `Failure` for an error reply, an `error` event and a connection that ends without `done`. Aborting
 * the signal closes the connection, which cancels the work, and rejects with the signal's reason.
 */
export async function stream<Path extends keyof Streams>(
  path: Path,
  body: Streams[Path]["body"],
  onEvent: (event: StreamEvent<Path>) => void,
  signal?: AbortSignal,
): Promise<void> {
  let response: Response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw unreachable();
  }
  if (!response.ok || !response.body) throw failure(parse(await rest(response, signal)), response.status);

  const reader = response.body.getReader();
  // It decodes across chunk borders, and takes a byte order mark off.
  const decoder = new TextDecoder();
  const read = eventReader();
  try {
    for (;;) {
      const { done, value } = await chunk(reader, signal);
      if (done) throw hungUp();
      for (const { name, data } of read(decoder.decode(value, { stream: true }))) {
        signal?.throwIfAborted();
        const parsed = parse(data);
        if (name === "error") throw failure(parsed, response.status);
        if (parsed === undefined)
          throw new Failure("failed", "The server sent what is not JSON.", "Its log says more.");
        onEvent({ name, data: parsed } as StreamEvent<Path>);
        if (name === "done") return;
      }
    }
  } finally {
    // What is left is of no interest, and a connection that broke cannot be closed again.
    reader.cancel().catch(() => undefined);
  }
}

/**
 * A reader of server-sent events: give it the text as it comes, get the events that are complete.
 *
 * WHATWG HTML, "Parsing an event stream": lines end with LF, CR or CR LF, several `data` lines are one text, lines
 * that begin with a colon are comments, an empty line ends the event.
 */
export function eventReader(): (text: string) => { name: string; data: string }[] {
  let held = "";
  let name = "";
  let data: string[] = [];
  return (text) => {
    const events: { name: string; data: string }[] = [];
    held += text;
    let start = 0;
    for (const end of held.matchAll(/\r\n|\n|\r/g)) {
      // The line feed that belongs to this may be in the next chunk.
      if (end[0] === "\r" && end.index === held.length - 1) break;
      const line = held.slice(start, end.index);
      start = end.index + end[0].length;
      if (line === "") {
        if (data.length > 0) events.push({ name: name || "message", data: data.join("\n") });
        name = "";
        data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") name = value;
      else if (field === "data") data.push(value);
    }
    held = held.slice(start);
    return events;
  };
}

function hungUp(): Failure {
  return new Failure(
    "unreachable",
    "The server hung up before it was done.",
    "See that “clew serve” still runs, then try again.",
  );
}

async function chunk(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, signal?: AbortSignal) {
  try {
    return await reader.read();
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw hungUp();
  }
}

async function rest(response: Response, signal?: AbortSignal): Promise<string> {
  try {
    return await response.text();
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw hungUp();
  }
}
