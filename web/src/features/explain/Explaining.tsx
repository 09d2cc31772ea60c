import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";
import { stream } from "../../api/events";
import { EXPLAINED } from "../../api/explanations";
import type { ExplainProgress, ExplainRequest } from "../../api/types";
import { type LongWork, useLongWork } from "../../components/useLongWork";

interface Work extends Omit<LongWork<ExplainProgress>, "begin"> {
  /** What is being explained, or was last; null: nothing since the page was opened. */
  asked: ExplainRequest | null;
  begin: (asked: ExplainRequest) => void;
}

const Context = createContext<Work | null>(null);

/** The explaining that this page began, wherever in the page one is. */
export function useExplaining(): Work {
  const work = useContext(Context);
  if (!work) throw new Error("There is no <Explaining> around this.");
  return work;
}

/** Keeps explaining going while pages change: the server stops one whose connection closes. */
export function Explaining({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<ExplainRequest | null>(null);
  const { running, progress, notes, error, begin: start, cancel } = useLongWork<ExplainProgress>();
  const begin = useCallback(
    (wanted: ExplainRequest) => {
      setAsked(wanted);
      start(async (tell, signal) => {
        // What ended last is told by one event alone, and events may come faster than the page is drawn.
        let [latest, problem]: [ExplainProgress["latest"], ExplainProgress["problem"]] = [null, null];
        try {
          await stream(
            "/api/explanations/explain",
            wanted,
            ({ data }) => {
              latest = data.latest ?? latest;
              problem = data.problem ?? problem;
              tell({ ...data, latest, problem });
            },
            signal,
          );
        } finally {
          // What was done before it was cancelled or failed is kept as well.
          await client.invalidateQueries({ queryKey: [EXPLAINED] });
        }
      });
    },
    [client, start],
  );
  const value = useMemo(
    () => ({ asked, running, progress, notes, error, begin, cancel }),
    [asked, running, progress, notes, error, begin, cancel],
  );
  return <Context value={value}>{children}</Context>;
}
