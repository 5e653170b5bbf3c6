// What is left of a sale stays up to date on the page.
import { keepFresh } from "./fresh.js";

keepFresh(document);
