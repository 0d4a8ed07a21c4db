"""What the bridge has to beat: other ways from a text to a plan, with its networks, its channels and its training.

Where a method is a setting of the bridge, it is no more than that:

* ``flow``: flow matching from a Gaussian source. The bridge's process with z_text = 0, no noise of the bridge and an
  end blurred by 1; the text reaches the denoiser alone.
* ``regression``: the text end by itself, the mean of what the text leaves open. As deep as the denoiser.
* ``mean``: the mean summary, whatever the text.

Three are more:

* ``vae``: the denoiser decodes latents that a small encoder made of the music (see `vae`).
* ``retrieval``: plans of real music, found by contrastive embeddings (see `retrieval`).
* ``prefix``: a soft prompt. The text end, trained through the frozen MuseFormer by the cross entropy of the songs'
  tokens (see `injection.prefix_training`): it need not look like a summary.
"""
