import type { paths } from "./schema";

type Reply<T> = T extends { responses: { 200: { content: { "application/json": infer R } } } } ? R : never;
type Body<T> = T extends { requestBody: { content: { "application/json": infer B } } } ? B : never;

export type Status = Reply<paths["/api/status"]["get"]>;
export type Answer = Reply<paths["/api/debug"]["post"]>;
export type NodeDetail = Reply<paths["/api/node"]["post"]>;
export type Lens = Reply<paths["/api/lens"]["post"]>;
export type TokenCheck = Reply<paths["/api/token"]["post"]>;
export type TokenList = Reply<paths["/api/tokens"]["post"]>;
export type NodeList = Reply<paths["/api/nodes"]["post"]>;

export type Model = Status["model"];
export type Token = Answer["tokens"][number];
export type Direction = Answer["direction"];
export type Candidate = Answer["candidates"][number];
export type Accounting = Answer["accounting"];
export type NodeEffect = Answer["nodes"][number];
export type TokenEffect = Answer["by_token"][number];
export type LayerEffect = Answer["by_layer"][number];
export type TokenScore = NodeDetail["up"][number];

/** What is asked: a prompt, the two sides of the direction, and where. */
export type Question = Required<Body<paths["/api/lens"]["post"]>>;
/** Which nodes of the answer to list. */
export type Filters = Required<Omit<Body<paths["/api/nodes"]["post"]>, keyof Question>>;
