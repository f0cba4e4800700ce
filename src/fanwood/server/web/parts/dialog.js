// Dialogs: the browser's own, so that focus stays inside and Escape closes.

import { html, useLayoutEffect, useRef } from "../core/html.js";

/** @param {{title: string, onClose: () => void, children?: any, class?: string, bare?: boolean}} props */
export function Dialog({ title, onClose, children, class: name = "", bare = false }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useLayoutEffect(() => {
    // At once, and not after the next paint: whoever types on right after the key that opens it types into it.
    const before = document.activeElement;
    box.current?.showModal();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const outside = (/** @type {MouseEvent} */ event) => event.target === box.current && onClose();
  return html`<dialog ref=${box} class=${name} aria-label=${title} onClose=${onClose} onMouseDown=${outside}>
    <div class="dialog-in">${bare ? null : html`<h2 class="dialog-title">${title}</h2>`}${children}</div>
  </dialog>`;
}
