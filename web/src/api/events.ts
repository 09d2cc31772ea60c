import { Failure, failure, parse, trainingPath, unreachable } from "./client";
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
  "/api/explanations/explain": {
    body: Schemas["ExplainRequest"];
    events: { progress: Schemas["ExplainProgress"]; done: Schemas["ExplainProgress"] };
  };
  "/api/explanations/score": {
    body: Schemas["ScoreRequest"];
    events: { progress: Schemas["ExplainProgress"]; done: Schemas["ExplainProgress"] };
  };
  "/api/autoencoders/{name}/report": {
    body: Schemas["JudgeRequest"];
    events: { progress: Schemas["EvaluationProgress"]; done: Schemas["Report"] };
  };
}

/** The events of a training, which goes on whether somebody watches or not. */
interface TrainingEvents {
  state: Schemas["TrainingState"];
  points: Schemas["TrainPoints"];
}

type Named<Events> = { [Name in keyof Events]: { name: Name; data: Events[Name] } }[keyof Events];
/** One event of a stream, told apart by its name. */
export type StreamEvent<Path extends keyof Streams> = Named<Streams[Path]["events"]>;
export type TrainingEvent = Named<TrainingEvents>;

/**
 * Asks for long work and hands on each event as it comes; resolves after `done`.
 *
 * `address` is the path with its parameters filled in, where it has any. Rejects with a `Failure` for an error reply, an
 * `error` event and a connection that ends without `done`. Aborting the signal closes the connection, which cancels the
 * work, and rejects with the signal's reason.
 */
export function stream<Path extends keyof Streams>(
  path: Path,
  body: Streams[Path]["body"],
  onEvent: (event: StreamEvent<Path>) => void,
  signal?: AbortSignal,
  address: string = path,
): Promise<void> {
  const init = {
    method: "POST",
    headers: { "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify(body),
  };
  return read(address, init, signal, ({ name, data }) => {
    onEvent({ name, data } as StreamEvent<Path>);
    return name === "done";
  });
}

/**
 * Watches a training, from after step `after` of its log; resolves once it does not run any more.
 *
 * Rejects as `stream` does. Aborting the signal ends the watching, and nothing else.
 */
export function watchTraining(
  name: string,
  after: number | null,
  onEvent: (event: TrainingEvent) => void,
  signal?: AbortSignal,
): Promise<void> {
  const address = `${trainingPath(name)}/events${after === null ? "" : `?after=${after}`}`;
  return read(address, { headers: { accept: "text/event-stream" } }, signal, ({ name, data }) => {
    const event = { name, data } as TrainingEvent;
    onEvent(event);
    return event.name === "state" && event.data.stage !== "running";
  });
}

/** Hands on each event of a reply until `onEvent` says that it was the last. */
async function read(
  address: string,
  init: RequestInit,
  signal: AbortSignal | undefined,
  onEvent: (event: { name: string; data: unknown }) => boolean,
): Promise<void> {
  let response: Response;
  try {
    response = await fetch(address, { ...init, signal });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw unreachable();
  }
  if (!response.ok || !response.body) throw failure(parse(await rest(response, signal)), response.status);

  const reader = response.body.getReader();
  // It decodes across chunk borders, and takes a byte order mark off.
  const decoder = new TextDecoder();
  const complete = eventReader();
  try {
    for (;;) {
      const { done, value } = await chunk(reader, signal);
      if (done) throw hungUp();
      for (const { name, data } of complete(decoder.decode(value, { stream: true }))) {
        signal?.throwIfAborted();
        const parsed = parse(data);
        if (name === "error") throw failure(parsed, response.status);
        if (parsed === undefined)
          throw new Failure("failed", "The server sent what is not JSON.", "Its log says more.");
        if (onEvent({ name, data: parsed })) return;
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
