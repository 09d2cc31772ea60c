import { afterEach, expect, test, vi } from "vitest";
import { Failure } from "./client";
import { eventReader, type StreamEvent, type Streams, stream } from "./events";

const BODY: Streams["/api/generate"]["body"] = {
  prompt: "a",
  targets: [],
  distractors: [],
  bos: false,
  autoencoders: [],
  edits: [],
  trace: [],
  n: 2,
  temperature: 0,
  seed: 0,
};
const TOKEN = { position: 1, id: 7, text: " café ☕𝄞", probability: 0.5 };
const TEXT = `event: token\ndata: ${JSON.stringify(TOKEN)}\n\nevent: done\ndata: {"text":" café ☕𝄞"}\n\n`;

/** A reply whose body comes in these pieces; `fails` breaks the connection after the last of them. */
function reply(pieces: readonly (string | Uint8Array)[], fails = false, init: ResponseInit = {}) {
  const cancelled = vi.fn();
  const left = [...pieces];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = left.shift();
      if (piece !== undefined)
        controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
      else if (fails) controller.error(new TypeError("network error"));
      else controller.close();
    },
    cancel: cancelled,
  });
  const fetched = vi.fn<typeof fetch>(async () => new Response(body, init));
  vi.stubGlobal("fetch", fetched);
  return { cancelled, fetched };
}

async function heard(signal?: AbortSignal) {
  const events: StreamEvent<"/api/generate">[] = [];
  const failed = await stream("/api/generate", BODY, (event) => events.push(event), signal).then(
    () => null,
    (error: unknown) => error,
  );
  return { events, failed };
}

afterEach(() => vi.unstubAllGlobals());

test("events are the same wherever the text is split, within a character too", async () => {
  const bytes = new TextEncoder().encode(TEXT);
  for (let cut = 0; cut <= bytes.length; cut++) {
    reply([bytes.slice(0, cut), bytes.slice(cut)]);
    expect(await heard()).toEqual({
      events: [
        { name: "token", data: TOKEN },
        { name: "done", data: { text: " café ☕𝄞" } },
      ],
      failed: null,
    });
  }
  reply([...bytes].map((byte) => Uint8Array.of(byte)));
  expect((await heard()).events).toHaveLength(2);
});

test("the question goes out as JSON, and what follows done is not waited for", async () => {
  const { fetched, cancelled } = reply([TEXT, "event: token\ndata: {}\n\n"]);
  expect((await heard()).events).toHaveLength(2);
  const [path, init] = fetched.mock.calls[0] ?? [];
  expect(path).toBe("/api/generate");
  expect(JSON.parse(init?.body as string)).toEqual(BODY);
  expect(cancelled).toHaveBeenCalled();
});

test("lines may end with LF, CR LF or CR, and comments are passed over", () => {
  const expected = [{ name: "a", data: "1\n2" }];
  for (const end of ["\n", "\r\n", "\r"]) {
    const text = `: hello${end}id: 3${end}event: a${end}data: 1${end}data:2${end}${end}`;
    const read = eventReader();
    expect([...text, `: end${end}`].flatMap(read)).toEqual(expected);
  }
  expect(eventReader()("data: 1\n\nevent: nothing\n\nevent: half\ndata: 2\n")).toEqual([
    { name: "message", data: "1" },
  ]);
});

test("a connection that ends or breaks without done is a failure", async () => {
  for (const fails of [false, true]) {
    reply([TEXT.slice(0, TEXT.indexOf("event: done") + 15)], fails);
    const { events, failed } = await heard();
    expect(events).toHaveLength(1);
    expect(failed).toBeInstanceOf(Failure);
    expect((failed as Failure).message).toBe("The server hung up before it was done.");
  }
});

test("an error event is a failure, and so is an error reply", async () => {
  const error = { error: { code: "busy", message: "Too many wait.", hint: "Try again." } };
  reply([`event: error\ndata: ${JSON.stringify(error)}\n\n`]);
  expect((await heard()).failed).toMatchObject({
    code: "busy",
    message: "Too many wait.",
    hint: "Try again.",
  });
  reply([JSON.stringify(error)], false, { status: 503 });
  expect((await heard()).failed).toMatchObject({ code: "busy", message: "Too many wait." });
  reply(["<html>"], false, { status: 502 });
  expect((await heard()).failed).toMatchObject({ code: "unreachable" });
  reply(["event: token\ndata: {oops\n\n"]);
  expect((await heard()).failed).toMatchObject({ code: "failed" });
});

test("a server that is not there is a failure", async () => {
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
  expect((await heard()).failed).toMatchObject({ code: "unreachable" });
});

test("aborting ends it with the signal's reason, not with a failure", async () => {
  const abort = new AbortController();
  const { cancelled } = reply([TEXT.slice(0, TEXT.indexOf("event: done")), TEXT, TEXT, TEXT]);
  const events: unknown[] = [];
  const ended = stream(
    "/api/generate",
    BODY,
    (event) => {
      events.push(event);
      abort.abort();
    },
    abort.signal,
  );
  const reason = await ended.catch((error: unknown) => error);
  expect(reason).toBe(abort.signal.reason);
  expect(events).toHaveLength(1);
  expect(cancelled).toHaveBeenCalled();
});
