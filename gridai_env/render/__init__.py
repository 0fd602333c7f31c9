"""Pictures of an episode: what every site and flow does now, and what prices and carbon did so far.

Importing this part loads no Matplotlib; making a `Renderer` does.
"""

from gridai_env.render.frame import Renderer

__all__ = ["Renderer"]
