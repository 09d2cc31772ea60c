import { type ReactNode, useEffect, useRef, useState } from "react";

/** What is only made once it comes near the window; until then `place`, a class of some height, is kept for it. */
export function Lazily({ place, children }: { place: string; children: ReactNode }) {
  const box = useRef<HTMLDivElement>(null);
  const [near, setNear] = useState(false);
  useEffect(() => {
    if (near || !box.current) return;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) setNear(true);
      },
      { rootMargin: "400px" },
    );
    observer.observe(box.current);
    return () => observer.disconnect();
  }, [near]);
  return near ? children : <div ref={box} className={place} />;
}
