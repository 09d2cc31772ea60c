import type { components, paths } from "./schema";

type Reply<T> = T extends { responses: { 200: { content: { "application/json": infer R } } } } ? R : never;
type Body<T> = T extends { requestBody: { content: { "application/json": infer B } } } ? B : never;

export type Status = Reply<paths["/api/status"]["get"]>;
export type Answer = Reply<paths["/api/debug"]["post"]>;
export type NodeDetail = Reply<paths["/api/node"]["post"]>;
export type Lens = Reply<paths["/api/lens"]["post"]>;
export type TokenCheck = Reply<paths["/api/token"]["post"]>;
export type TokenList = Reply<paths["/api/tokens"]["post"]>;
export type NodeList = Reply<paths["/api/nodes"]["post"]>;
export type ComparedAnswers = Reply<paths["/api/compare"]["post"]>;
export type Alignment = Reply<paths["/api/align"]["post"]>;
export type Pattern = Reply<paths["/api/pattern"]["post"]>;

export type Model = Status["model"];
export type Token = Answer["tokens"][number];
export type Direction = Answer["direction"];
export type Candidate = Answer["candidates"][number];
export type Accounting = Answer["accounting"];
export type NodeEffect = Answer["nodes"][number];
export type TokenEffect = Answer["by_token"][number];
export type LayerEffect = Answer["by_layer"][number];
export type TraceStep = Answer["trace"][number];
export type Through = TraceStep["through"];
export type Comparison = ComparedAnswers["comparison"];
export type CandidateChange = Comparison["candidates"][number];
export type NodeChange = Comparison["nodes"][number];
export type Agreement = components["schemas"]["Agreement"];
export type Ablation = components["schemas"]["VerifyQuestion"]["ablation"];
export type SweepCell = components["schemas"]["SweepCell"];
export type TokenScore = NodeDetail["up"][number];

/** What is asked: a prompt, the two sides of the direction, and where. */
export type Question = Required<Body<paths["/api/lens"]["post"]>>;
/** Which nodes of the answer to list. */
export type Filters = Required<Omit<Body<paths["/api/nodes"]["post"]>, keyof Question>>;

// What an atlas tells.
type Schemas = components["schemas"];
export type AtlasStatus = Schemas["AtlasStatus"];
export type AtlasInfo = Schemas["AtlasInfo"];
export type Component = Schemas["Component"];
export type ComponentStats = Schemas["Stats"];
export type HeadTypes = Schemas["HeadTypes"];
export type Histogram = Schemas["Histogram"];
export type Example = Schemas["Example"];
export type Band = Schemas["Band"];
export type Card = Schemas["Card"];
export type Pairs = Schemas["Pairs"];
export type Weights = Schemas["Weights"];
export type Relation = Schemas["Relation"];
export type CoFirings = Schemas["CoFirings"];
export type OnPrompt = Schemas["OnPrompt"];
export type Firings = Schemas["Firings"];
export type TokenMatches = Schemas["TokenMatches"];
export type PushMatches = Schemas["PushMatches"];
export type PromptSearch = Required<Schemas["PromptSearch"]>;
export type TokenSearch = Required<Schemas["TokenSearch"]>;
export type PushSearch = Required<Schemas["PushSearch"]>;
export type CollectProgress = Schemas["CollectProgress"];

// Autoencoders: the shelf, trainings, reports.
export type Autoencoder = Schemas["ListedAutoencoder"];
export type AddRequest = Required<Schemas["AddRequest"]>;
export type JudgeRequest = Required<Schemas["JudgeRequest"]>;
export type RecipeRequest = Required<Schemas["RecipeRequest"]>;
export type TrainRequest = Required<Schemas["TrainRequest"]> & { recipes: RecipeRequest[] };
export type Architecture = RecipeRequest["architecture"];
export type Training = Schemas["TrainingState"];
export type Trainings = Schemas["Trainings"];
export type TrainPoint = Schemas["TrainPoint"];
export type LatentHistogram = Schemas["LatentHistogram"];
export type Report = Schemas["Report"];
export type Probe = Schemas["Probe"];
export type LatentSample = Schemas["LatentSample"];
export type Rating = NonNullable<Schemas["Rated"]["rating"]>;
export type JudgeProgress = Schemas["EvaluationProgress"];

// Words for components, and how far they can be trusted.
export type Explanation = Schemas["Explanation"];
export type Score = Schemas["Score"];
export type ScorerName = Score["scorer"];
export type Method = NonNullable<Score["method"]>;
export type Variant = Explanation["variant"];
/** One text of a scoring: real activations and simulated ones. */
export type ScoredText = Schemas["Strip"];
export type ExplainRequest = Required<Schemas["ExplainRequest"]>;
export type ScoreRequest = Required<Schemas["ScoreRequest"]>;
export type NodeExplainRequest = Required<Schemas["NodeExplainRequest"]>;
export type ExplainPlan = Schemas["ExplainPlan"];
export type ExplainProgress = Schemas["ExplainProgress"];
export type NodePlan = Schemas["NodePlan"];
export type LLMs = Schemas["LLMs"];
export type ListedLLM = Schemas["ListedLLM"];
export type ComponentExplanations = Schemas["ComponentExplanations"];
export type BestExplanations = Schemas["BestExplanations"];
export type FoundExplanations = Schemas["FoundExplanations"];
export type WordsSearch = NonNullable<paths["/api/explanations/search"]["get"]["parameters"]["query"]>;
export type Source = Schemas["Source"];
export type Overview = Schemas["Overview"];
export type Group = Schemas["Group"];
export type Bin = Schemas["Bin"];

// The machines that work is spread over.
export type Cluster = Schemas["Cluster"];
export type ClusterStatus = Schemas["ClusterStatus"];
export type ClusterMachine = Schemas["MachineStatus"];
export type ClusterWorker = Schemas["WorkerStatus"];
