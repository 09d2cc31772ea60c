import { useEffect } from "react";
import { ANSWERED } from "../../api/client";

/** The name under which the browser's performance timeline holds the time from answer to painted table. */
export const PAINTED = "clew:answer-to-paint";

/** Measures, for each new `answer`, the time from its arrival to the frame in which it is on the screen. */
export function usePaintMeasure(answer: unknown): void {
  // biome-ignore lint/correctness/useExhaustiveDependencies: the answer is what is measured, not what is used
  useEffect(() => {
    if (performance.getEntriesByName(ANSWERED).length === 0) return;
    let second = 0;
    // The first callback runs before the paint of this change, the second after it.
    const first = requestAnimationFrame(() => {
      second = requestAnimationFrame(() => {
        if (performance.getEntriesByName(ANSWERED).length === 0) return;
        performance.measure(PAINTED, ANSWERED);
        performance.clearMarks(ANSWERED);
      });
    });
    return () => {
      cancelAnimationFrame(first);
      cancelAnimationFrame(second);
    };
  }, [answer]);
}
