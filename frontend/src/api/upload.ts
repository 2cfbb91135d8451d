/** Sending a document, with progress: `fetch` does not say how much of a body has left. */

import { type ImportResult, NotAnAnswer } from "./client";

export interface UploadOptions {
  token: string;
  file: File;
  /** What to call the document here; its own title without. */
  name: string;
  /** Made here, to ask with it how far the import is. */
  importId: string;
  signal: AbortSignal;
  /** Bytes that have left, of all; once all have, the server reads the document. */
  onProgress: (sent: number, total: number) => void;
}

export type Upload = (options: UploadOptions) => Promise<ImportResult>;

export const uploadDocument: Upload = ({ token, file, name, importId, signal, onProgress }) =>
  new Promise((resolve, reject) => {
    const query = new URLSearchParams({
      source: file.name,
      import_id: importId,
      ...(name ? { name } : {}),
    });
    const request = new XMLHttpRequest();
    request.open("POST", `/api/specs?${query}`);
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "text";
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded, total);
    request.onload = () => {
      if (!request.getResponseHeader("content-type")?.includes("json"))
        return reject(new NotAnAnswer(request.status));
      const body: unknown = JSON.parse(request.responseText);
      if (request.status === 201) resolve(body as ImportResult);
      else reject(body);
    };
    request.onerror = () => reject(new Error("the connection broke"));
    request.onabort = () => reject(new DOMException("Cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
