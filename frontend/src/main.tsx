import "./ui/mantine.css";
import "./ui/global.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { takeToken } from "./api/sign-in";
import { App } from "./app";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
const token = takeToken(window.location, window.history, window.sessionStorage);
createRoot(root).render(
  <StrictMode>
    <App token={token} storage={window.sessionStorage} />
  </StrictMode>,
);
