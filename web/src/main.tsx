import { render } from "preact";
import { App } from "./app";
import { followLinks } from "./router";
import { applyTheme } from "./settings";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/chat.css";
import "./styles/markdown.css";
import "./styles/pages.css";

applyTheme();
followLinks();
render(<App />, document.getElementById("app") as HTMLElement);
