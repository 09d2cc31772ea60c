import { useMemo, useRef, useState } from "react";
import { useStatus } from "../../api/queries";
import { AskedContext, DebuggerContext } from "../../components/asked";
import { useKeys } from "../../components/useKeys";
import { usePath, useSearch } from "../../url/address";
import {
  type Asked,
  debuggerAddress,
  type Route,
  readAsked,
  readRoute,
  WITHOUT_PROMPT,
} from "../../url/route";
import { Collecting } from "../atlas/Collecting";
import { ClusterPage } from "../cluster/ClusterPage";
import { ComponentPage } from "../component/ComponentPage";
import { DebuggerPage } from "../debugger/DebuggerPage";
import { Explaining } from "../explain/Explaining";
import { ModelPage } from "../explain/ModelPage";
import { AutoencodersPage } from "../sae/AutoencodersPage";
import { ReportPage } from "../sae/ReportPage";
import { TrainingPage } from "../sae/TrainingPage";
import { TrainPage } from "../sae/TrainPage";
import { SearchPage } from "../search/SearchPage";
import { Help } from "./Help";
import { TopBar } from "./TopBar";

/** The page that the address names, under the bar that all pages share. */
export function App() {
  const path = usePath();
  const route = useMemo(() => readRoute(path), [path]);
  const status = useStatus();
  const search = useSearch();
  const example = status.data?.example.prompt ?? null;
  const here = useMemo(() => readAsked(search, example), [search, example]);
  const [kept, setKept] = useState<Asked | null>(null);
  // Some pages have no prompt: the one that was looked at before goes along.
  const prompted = !WITHOUT_PROMPT.includes(route.page);
  if (prompted && here !== kept) setKept(here);
  const asked = prompted ? here : (kept ?? here);
  const back = useDebuggerAddress(route.page, search, asked, example);
  const [helping, setHelping] = useState(false);
  const finder = useRef<HTMLInputElement>(null);
  useKeys(
    useMemo(
      () => ({
        "?": () => setHelping(true),
        g: () => finder.current?.focus(),
      }),
      [],
    ),
  );
  return (
    <AskedContext value={asked}>
      <DebuggerContext value={back}>
        <Collecting>
          <Explaining>
            <div className="min-h-dvh">
              <TopBar
                page={route.page}
                model={status.data?.model}
                version={status.data?.version}
                finder={finder}
                onHelp={() => setHelping(true)}
              />
              <Page route={route} />
              {helping && <Help page={route.page} onClose={() => setHelping(false)} />}
            </div>
          </Explaining>
        </Collecting>
      </DebuggerContext>
    </AskedContext>
  );
}

function Page({ route }: { route: Route }) {
  switch (route.page) {
    case "component":
      return <ComponentPage named={route.id} />;
    case "search":
      return <SearchPage />;
    case "explanations":
      return <ModelPage />;
    case "autoencoders":
      return <AutoencodersPage />;
    case "autoencoder":
      return <ReportPage key={route.name} name={route.name} />;
    case "train":
      return <TrainPage />;
    case "training":
      return <TrainingPage key={route.name} name={route.name} />;
    case "cluster":
      return <ClusterPage />;
    case "debugger":
      return <DebuggerPage />;
  }
}

/** The debugger as it was left, if it was about the prompt that is open now; else the debugger on this prompt. */
function useDebuggerAddress(
  page: Route["page"],
  search: string,
  asked: Asked | null,
  example: string | null,
): string {
  const [left, setLeft] = useState("");
  if (page === "debugger" && search !== left) setLeft(search);
  const before = readAsked(left, example);
  const same =
    before !== null &&
    before.prompt === asked?.prompt &&
    before.bos === asked.bos &&
    before.autoencoders?.join("\n") === asked.autoencoders?.join("\n");
  return same ? `/${left}` : debuggerAddress(asked);
}
