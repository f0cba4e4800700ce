// Only those rows are in the page that can be seen: of a list of equally high ones.

import { useEffect, useRef, useState } from "../core/html.js";

const SPARE = 6;
const MOST = 60;

/**
 * Which rows to draw. The list grows with the page, and scrolls with it.
 * @param {number} size @param {number} high of one row
 * @returns {{box: {current: HTMLElement | null}, first: number, end: number}}
 */
export function useWindow(size, high) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [first, setFirst] = useState(0);
  useEffect(() => {
    let asked = 0;
    const look = () => {
      asked = 0;
      const top = box.current?.getBoundingClientRect().top ?? 0;
      setFirst(Math.max(0, Math.floor(-top / high) - SPARE));
    };
    const ask = () => (asked ||= requestAnimationFrame(look));
    look();
    addEventListener("scroll", ask, { passive: true });
    addEventListener("resize", ask);
    return () => {
      removeEventListener("scroll", ask);
      removeEventListener("resize", ask);
      cancelAnimationFrame(asked);
    };
  }, [high]);
  const from = Math.min(first, Math.max(0, size - MOST));
  return { box, first: from, end: Math.min(size, from + MOST) };
}

/** Scroll so that a row is seen, below the page's head. @param {HTMLElement | null} box @param {number} at @param {number} high */
export function reveal(box, at, high) {
  if (!box) return;
  const top = box.getBoundingClientRect().top + at * high;
  if (top < 88) scrollBy({ top: top - 88 });
  else if (top + high > innerHeight - 16) scrollBy({ top: top + high - innerHeight + 16 });
}
